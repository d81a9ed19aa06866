"""The published adversarial networks: a GAN, and a Wasserstein GAN with gradient penalty."""
