"""A merged model's weights become fewer bits: rounded here, or calibrated by llm-compressor."""
