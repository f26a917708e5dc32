"""Keep-alive policies, one small class each: see `manager.keep_alive`."""
