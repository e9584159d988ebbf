"""A version becomes engines that are proved to serve it."""
