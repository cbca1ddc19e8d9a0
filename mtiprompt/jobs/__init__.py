"""Files in, files out: rows are read, answered and written one at a time, and a stopped run goes on."""
