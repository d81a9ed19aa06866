"""The default generator: space group and composition first, then geometry by a flow."""
