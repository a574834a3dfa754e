import { ModelConfig } from '../../shared/backbone.ts'
import { issuesOf } from '../../shared/issues.ts'
import { invalidBackbone } from '../backbone/invalid-backbone.ts'

/** Largest sizes that a model file may claim, well above any model this serves: checked before anything is allocated. */
const limits = [
  ['layers', 256],
  ['d', 16_384],
  ['heads', 512],
  ['kvHeads', 512],
  ['headDim', 1024],
  ['ffn', 131_072],
  ['vocab', 1_000_000],
  ['contextLength', 16_777_216],
] as const

/** Checks sizes that come from a file. `file` is named in the `backbone_invalid` it throws. */
export function checkedConfig(raw: unknown, file: string): ModelConfig {
  const parsed = ModelConfig.safeParse(raw)
  if (!parsed.success) throw invalidBackbone(file, issuesOf(parsed.error))
  const config = parsed.data
  for (const [key, limit] of limits) {
    const value = config[key]
    if (value > limit) throw invalidBackbone(file, `${key} is ${value}; at most ${limit} is supported`)
  }
  if (config.heads % config.kvHeads !== 0)
    throw invalidBackbone(
      file,
      `${config.heads} heads cannot be shared by ${config.kvHeads} key-value heads evenly`,
    )
  if (config.headDim % 2 !== 0)
    throw invalidBackbone(
      file,
      `head size ${config.headDim} is odd; rotary position embedding needs an even one`,
    )
  checkRotary(config, file)
  return config
}

function checkRotary({ rotary, headDim, layers, attention }: ModelConfig, file: string): void {
  for (const { dims = headDim, factors, beyond } of rotary) {
    if (dims > headDim || dims % 2 !== 0)
      throw invalidBackbone(file, `rotary positions turn ${dims} of a head's ${headDim} numbers`)
    if ([factors, beyond?.factors].some((list) => list !== undefined && list.length !== dims / 2))
      throw invalidBackbone(file, `rotary scaling must have a factor for each of ${dims / 2} pairs`)
  }
  if (new Set(rotary.map(({ dims = headDim }) => dims)).size > 1)
    throw invalidBackbone(file, 'its layers turn different parts of their heads, which is not supported')
  if (attention !== undefined && attention.length !== layers)
    throw invalidBackbone(file, `it describes ${attention.length} of its ${layers} layers`)
}
