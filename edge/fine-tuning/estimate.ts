import type { TokenCount, TrainingEstimate } from '../../shared/api/files.ts'
import type { Hyperparameters } from '../../shared/api/fine-tuning.ts'
import type { EdgeBackbone } from '../../shared/backbone.ts'
import { QuartetError } from '../../shared/errors.ts'
import { adapterBytes, describeAdapter } from '../../shared/training/describe-adapter.ts'
import { devShare, jobSize, setApart, tokensOfJob } from '../../shared/training/job-size.ts'

/** Weights of a backbone times the tokens that two CPU cores train with them in a second (docs/benchmarks.md, `train`). */
const assumedWeightTokensPerSecond = 2e10

export interface Estimating {
  readonly backbone: EdgeBackbone
  readonly count: Pick<TokenCount, 'examples' | 'tokens'>
  readonly hyperparameters: Hyperparameters
  readonly hasValidationFile: boolean
  /** Measured by trainers of the backbone; undefined where none has trained yet. */
  readonly tokensPerSecond: number | undefined
  /** The size of the adapter to go on from; undefined for a new one. */
  readonly adapterBytes?: number | undefined
}

/** The estimate of a job on these examples; null where there is nothing to train on. */
export function estimateTraining({
  adapterBytes: known,
  backbone,
  count,
  hasValidationFile,
  hyperparameters,
  tokensPerSecond,
}: Estimating): TrainingEstimate | null {
  const bytes = known ?? newAdapter(backbone)?.bytes
  if (count.examples === 0 || bytes === undefined) return null
  const dev = hasValidationFile || count.examples === 1 ? 0 : setApart(count.examples, devShare)
  const examples = count.examples - dev
  const size = jobSize(examples, hyperparameters)
  const tokens = tokensOfJob((count.tokens * examples) / count.examples, size)
  return {
    examples,
    steps: size.steps,
    trained_tokens: tokens,
    seconds: Math.ceil(tokens / (tokensPerSecond ?? assumedWeightTokensPerSecond / weightsOf(backbone))),
    seconds_from: tokensPerSecond === undefined ? 'assumption' : 'trainers',
    adapter_bytes: bytes,
  }
}

/**
 * Prompt rows and bytes of the adapter that a job trains where it goes on from none; undefined for a backbone so large that
 * the adapter would be larger than one may be. Neither depends on where rows stand, nor so on the header.
 */
export function newAdapter({
  d,
  digest,
  layers,
  slug,
  vocab,
}: EdgeBackbone): { readonly rows: number; readonly bytes: number } | undefined {
  try {
    const metadata = describeAdapter(
      { digest, slug, config: { d, layers, vocab }, header: 0 },
      { kind: 'iapt' },
    )
    return { rows: metadata.l_sp, bytes: adapterBytes(metadata) }
  } catch (thrown) {
    if (thrown instanceof QuartetError) return undefined
    throw thrown
  }
}

/** The weights of a decoder of this shape, as near as the edge knows it: 12 · layers · d² and the embedding. */
const weightsOf = ({ d, layers, vocab }: EdgeBackbone): number => 12 * layers * d * d + vocab * d
