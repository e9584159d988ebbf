"""Engine hosts: what runs on a machine that has engines for the gateways of other machines."""
