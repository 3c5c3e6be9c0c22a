"""Chat completions in OpenAI's wire form, without HTTP: what is asked, what is answered, and how an error is told."""
