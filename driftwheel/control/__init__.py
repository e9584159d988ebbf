"""Who moves the loop: controls, approvals, limits, the hosts that obey, and who is told."""
