import { ModelConfig } from '../../shared/backbone.ts'
import { issuesOf } from '../../shared/issues.ts'
import { sizeLimits } from '../architectures/size-limits.ts'
import { invalidBackbone } from '../backbone/invalid-backbone.ts'

/** Checks sizes that come from a file. `file` is named in the `backbone_invalid` it throws. */
export function checkedConfig(raw: unknown, file: string): ModelConfig {
  const parsed = ModelConfig.safeParse(raw)
  if (!parsed.success) throw invalidBackbone(file, issuesOf(parsed.error))
  const config = parsed.data
  for (const key of Object.keys(sizeLimits) as (keyof typeof sizeLimits)[]) {
    const [value, limit] = [config[key], sizeLimits[key]]
    if (value > limit) throw invalidBackbone(file, `${key} is ${value}; at most ${limit} is supported`)
  }
  if (config.headDim % 2 !== 0)
    throw invalidBackbone(
      file,
      `head size ${config.headDim} is odd; rotary position embedding needs an even one`,
    )
  checkRotary(config, file)
  return config
}

function checkRotary({ rotary, headDim, layers, attention }: ModelConfig, file: string): void {
  for (const { dims = headDim, factors, beyond, dynamic } of rotary) {
    if (dims > headDim || dims % 2 !== 0)
      throw invalidBackbone(file, `rotary positions turn ${dims} of a head's ${headDim} numbers`)
    if (
      [factors, beyond?.factors, dynamic?.exponents].some(
        (list) => list !== undefined && list.length !== dims / 2,
      )
    )
      throw invalidBackbone(file, `rotary scaling must have a factor for each of ${dims / 2} pairs`)
  }
  if (new Set(rotary.map(({ dims = headDim }) => dims)).size > 1)
    throw invalidBackbone(file, 'its layers turn different parts of their heads, which is not supported')
  const scaled = rotary.filter(({ beyond, dynamic }) => beyond !== undefined || dynamic !== undefined)
  if (new Set(scaled.map(({ beyond, dynamic }) => `${beyond?.rows} ${dynamic?.rows}`)).size > 1)
    throw invalidBackbone(
      file,
      'its layers scale their rotary positions from different lengths on, which is not supported',
    )
  if (attention !== undefined && attention.length !== layers)
    throw invalidBackbone(file, `it describes ${attention.length} of its ${layers} layers`)
}
