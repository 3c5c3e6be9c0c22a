"""The affect head: reads how an utterance lands."""
