"""What is kept on disk of images, so that they need not be decoded or encoded again."""
