"""The optimizer: demonstrations, the order of tasks and what shares a call, under a budget."""
