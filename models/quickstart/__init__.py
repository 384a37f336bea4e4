"""How the checkpoint that ships with the project was made: data, training, evaluation."""
