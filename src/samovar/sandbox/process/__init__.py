"""The process sandbox: namespaces, cgroups and seccomp, forked from a zygote."""
