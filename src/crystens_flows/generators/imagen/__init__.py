"""The published diffusion model: two networks of imagen-pytorch, 32 x 32 and then 64 x 64."""
