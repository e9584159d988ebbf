"""Files that last: artifacts written whole or not at all, here and in an object store."""
