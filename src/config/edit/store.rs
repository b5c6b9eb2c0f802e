//! Files that are read, edited and written, one writer at a time.
