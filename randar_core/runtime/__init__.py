"""What the machine can do: precisions, packed layers, memory pages, processes."""
