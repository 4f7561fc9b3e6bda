"""Pretrained language models: what demonstrations in the prompt do, against what finetuning on them does."""
