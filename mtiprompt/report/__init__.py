"""Reports: one HTML file that opens without a network, and the same figures as plain values."""
