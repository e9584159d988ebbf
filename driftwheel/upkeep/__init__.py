"""What keeps a loop's memory whole and no larger than it must be: backup, restore, verify, gc, forget."""
