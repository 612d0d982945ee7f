"""What a ledger tells people: shift report, gauge study, what a replay would have changed."""
