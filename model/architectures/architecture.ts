import type { LayerAttention, ModelConfig } from '../../shared/backbone.ts'
import type { LayerTensor } from './decoder-tensors.ts'
import type { Settings } from './settings.ts'

/** A config without what the stored tensors decide. */
export type StatedConfig = Omit<ModelConfig, 'tiedHead' | 'vocab'> & { readonly vocab: number | undefined }

/** Names of a layer's weights, without `.weight`; a bias has the name of its weight. */
export type LayerNames = Readonly<Partial<Record<LayerTensor, string>>>

/** Stored matrices that hold several of a layer's, one below the other. */
export type Fused = Readonly<Record<string, readonly LayerTensor[]>>

/** An architecture as Hugging Face's transformers stores it. */
interface HuggingFaceForm {
  /** `model_type` of config.json. */
  readonly modelTypes: readonly string[]
  /** `model_type` of models with more than text whose `text_config` is of this architecture: their text part is taken. */
  readonly textPartOf?: readonly string[]
  config(settings: Settings): StatedConfig
  /** `tie_word_embeddings` where config.json does not say. */
  readonly tiedByDefault: boolean
  readonly layer: LayerNames
  readonly fused?: Fused
  /** Added to the weights of norms: the model multiplies by 1 + w. */
  readonly normOffset?: number
}

/** An architecture as a GGUF file stores it. */
interface GgufForm {
  /** `general.architecture`. */
  readonly architecture: string
  config(metadata: Settings, tensors: GgufTensors): StatedConfig
  readonly layer: LayerNames
  readonly fused?: Fused
  /** Rows of q and k stand in rotated pairs (x0 y0 x1 y1 …), as llama.cpp's `permute` leaves them. */
  readonly interleaved: boolean
}

/** A config may ask this of a GGUF's tensors. */
export interface GgufTensors {
  has(name: string): boolean
  /** A small f32 tensor that is read before all others. */
  vector(name: string): readonly number[] | undefined
}

/** Everything that Quartet knows of an architecture. */
export interface Architecture {
  /** The name that people read. */
  readonly name: string
  readonly huggingFace: HuggingFaceForm
  readonly gguf: GgufForm
}

/** The config's `attention`, or nothing where all layers are alike: the first rotary and no window within reach. */
export function layerPattern(
  { layers, contextLength }: { layers: number; contextLength: number },
  ofLayer: (layer: number) => LayerAttention,
): Pick<ModelConfig, 'attention'> {
  const attention = Array.from({ length: Math.max(0, Math.min(layers, 1024)) }, (_, layer) => {
    const { rotary, window } = ofLayer(layer)
    return { rotary, window: window !== null && window < contextLength ? window : null }
  })
  const isPlain = attention.every(({ rotary, window }) => rotary === 0 && window === null)
  return isPlain ? {} : { attention }
}
