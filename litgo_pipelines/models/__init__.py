"""What a ranking model is: features, heuristic and learned ranker, training, files, registry."""
