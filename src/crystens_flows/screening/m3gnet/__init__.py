"""Formation energies from matgl's M3GNet: the model that ships, and how it is trained."""
