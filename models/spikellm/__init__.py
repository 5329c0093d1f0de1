"""SpikeLLM (arXiv 2407.04752): large language models with generalised integrate-and-fire neurons, after training.

- `quantizer`: the dynamic uniform quantiser, which is one step of the neuron; grids of weights.
- `gif`: the neuron in time. `saliency`: which channels get more steps.
- `layers`: spiking linear layers and attention on Hugging Face LLaMA modules, in place.
- `transform`, `omniquant`: learned equivalent transformation and learned clipping. `gptq`: second-order rounding.
- `pipeline`: one decoder layer after the other. `recipe`, `method`: what a suite declares.
- `language_model`: a causal LM with its tokenizer and what is stored of it. `tiny_llama`, `published`: where models come from.
"""
