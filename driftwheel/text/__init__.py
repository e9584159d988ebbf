"""What was asked and what was answered: conversations, words, labels, and the grade of an answer."""
