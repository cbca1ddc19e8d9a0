"""Files in, files out: rows are answered one at a time, and a stopped run goes on."""
