import type { Architecture } from './architecture.ts'
import { gemma2 } from './gemma2.ts'
import { gemma3 } from './gemma3.ts'
import { granite } from './granite.ts'
import { llama } from './llama.ts'
import { mistral } from './mistral.ts'
import { olmo2 } from './olmo2.ts'
import { phi3 } from './phi3.ts'
import { qwen2 } from './qwen2.ts'
import { qwen3 } from './qwen3.ts'
import { smollm3 } from './smollm3.ts'

/** The architectures that Quartet serves. Adding one is a file of its own and a line here. */
export const architectures: readonly Architecture[] = [
  llama,
  mistral,
  qwen2,
  qwen3,
  smollm3,
  phi3,
  granite,
  olmo2,
  gemma2,
  gemma3,
]

/**
 * Architectures that people ask for and that are not served, with the parts that they would need (docs/backbones.md
 * says more).
 */
const refused: Readonly<Record<string, string>> = {
  mixtral: 'mixture of experts',
  qwen2_moe: 'mixture of experts',
  qwen2moe: 'mixture of experts',
  qwen3_moe: 'mixture of experts',
  qwen3moe: 'mixture of experts',
  gpt_oss: 'mixture of experts and attention sinks',
  'gpt-oss': 'mixture of experts and attention sinks',
}

/** Why an architecture that goes by this name is not served. */
export function unsupported(key: string, name: string | undefined): string {
  const needs = name !== undefined && Object.hasOwn(refused, name) ? refused[name] : undefined
  const supported = architectures.map((architecture) => architecture.name).join(', ')
  return needs === undefined
    ? `${key} ${name ?? '(none)'} is not supported; supported are ${supported}`
    : `${key} ${name} is not supported: it needs ${needs} (docs/backbones.md, “Not served”); supported are ${supported}`
}
