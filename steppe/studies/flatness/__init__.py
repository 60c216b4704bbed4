"""Does flatness-aware meta-training make the trained models generalise?"""
