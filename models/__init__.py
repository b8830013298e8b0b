"""Networks, synthesizers, effects and losses as torch modules, and the models made of them; imports `autograd` only."""
