"""Chat templates for models that were trained on one and whose file does not bring it along: older files often lost theirs.

Which one it was cannot be told from the file (a base model of the same family has the same vocabulary), so `llm.prompt_format` names it.
"""

from __future__ import annotations

TEMPLATES = {
    "chatml": (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    ),
    # It has no role for a system message: raising here makes the persona a part of the first message.
    "gemma": (
        "{{ bos_token }}{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
        "{% for m in messages %}<start_of_turn>{{ 'model' if m.role == 'assistant' else 'user' }}\n{{ m.content }}<end_of_turn>\n"
        "{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
    ),
    "llama-3": (
        "{{ bos_token }}{% for m in messages %}<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n{{ m.content }}<|eot_id|>{% endfor %}"
        "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
    ),
    "mistral": (
        "{{ bos_token }}{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
        "{% for m in messages %}{% if m.role == 'assistant' %} {{ m.content }}{{ eos_token }}{% else %}[INST] {{ m.content }} [/INST]"
        "{% endif %}{% endfor %}"
    ),
}
"""Jinja sources by the format's name."""

STOPS = {"chatml": ("<|im_end|>",), "gemma": ("<end_of_turn>",), "llama-3": ("<|eot_id|>",), "mistral": ("[INST]",)}
"""What ends a reply where the file does not mark the token as an end, and the model spells it out."""
