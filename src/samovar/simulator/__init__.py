"""`samovar simulate`: a trace through the real manager and placement, under a virtual clock."""
