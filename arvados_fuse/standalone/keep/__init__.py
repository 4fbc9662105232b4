"""Keep: a directory of blocks, and the HTTP service that writes and reads them."""
