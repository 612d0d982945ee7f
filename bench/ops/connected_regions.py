from cost import Count

# integers only: links between pixels
COUNTS = {"connected_regions": Count(lambda mask: 0)}
