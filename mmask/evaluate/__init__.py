"""What a pretrained encoder has learnt."""
