import type { Backbone } from '../model/backbone/backbone-folder.ts'
import type { AdapterMetadata } from '../shared/adapter-file.ts'
import type { PromptFormat } from '../shared/training/prompt-encoder.ts'
import type { Example } from './data/example.ts'
import type { LossModel, Parameters } from './loss/loss-model.ts'
import type { LossModelOptions, Turns } from './loss/onnx-loss-model.ts'
import type { TrainSettings } from './settings.ts'

/** Examples and what an adapter's provenance says of where they are from: their file's SHA-256, or a share of it. */
export interface NamedExamples {
  readonly examples: readonly Example[]
  readonly source: string
}

/** Where the tensors start, and what a file says of it. */
interface NamedStart {
  readonly parameters: Parameters
  /** `anchor`, `random`, an adapter's digest, a text's hash. */
  readonly name: string
}

export interface AdapterTraining {
  readonly backbone: Backbone
  readonly metadata: AdapterMetadata
  readonly start: NamedStart
  readonly data: {
    readonly train: NamedExamples
    readonly dev: NamedExamples
    /** How the prompts were made token ids. */
    readonly prompts: PromptFormat
  }
  readonly settings: TrainSettings
  /** Trade time for memory: activations are computed again instead of kept. */
  readonly checkpointing?: boolean
  /** Threads that compute; one per core when absent. */
  readonly threads?: number | undefined
  /** Decides when the model runs; at once when absent. */
  readonly turns?: Turns | undefined
  readonly open?: (of: LossModelOptions) => Promise<LossModel>
}
