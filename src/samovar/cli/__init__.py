"""The command line: one file a verb. All but `up` speak HTTP to a server, as any client would."""
