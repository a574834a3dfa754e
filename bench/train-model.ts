import { requireBackbone } from '../cli/local/local-backbone.ts'
import { AdapterMetadata } from '../shared/adapter-file.ts'
import { BackboneSlug } from '../shared/ids.ts'
import { Random } from '../shared/prng.ts'
import type { Example } from '../training/data/example.ts'
import type { LossModel, Parameters } from '../training/loss/loss-model.ts'
import { type OnnxLossModel, openLossModel } from '../training/loss/onnx-loss-model.ts'

const slug = BackboneSlug.parse('smollm2-135m-instruct')

export const examples = 16
/** The tokens of each example that the backbone reads. It only predicts the last token of a response. */
export const jobTokens = 48

const settings = {
  iapt: { kind: 'iapt', m: '64', anchor: 'own', placement: 'after-first', activation: 'gelu' },
  late: { kind: 'iapt', m: '64', anchor: 'own', placement: 'late', tail: '4', activation: 'gelu' },
  lpt: { kind: 'lpt', m: '64', at: '15', anchor: 'own', placement: 'after-first', activation: 'gelu' },
} as const

/** The f32 backbone of this machine's cache, ready to train an adapter on. Throws when it is not there. */
export async function openBenchLossModel(
  kind: keyof typeof settings,
  options: { checkpointing?: boolean } = {},
): Promise<OnnxLossModel> {
  const backbone = await requireBackbone(slug, 'f32')
  const { digest, config } = backbone.manifest
  const metadata = AdapterMetadata.parse({
    format: 'quartet-adapter/1',
    backbone: slug,
    backbone_sha256: digest,
    d: String(config.d),
    layers: String(config.layers),
    l_sp: '4',
    ...settings[kind],
  })
  return openLossModel({ backbone, metadata, ...options })
}

const random = new Random(1)

export function randomParameters({ specs }: LossModel): Parameters {
  return new Map(
    Array.from(specs, ([name, { shape }]) => [
      name,
      Float32Array.from({ length: shape.reduce((a, b) => a * b) }, () => 0.1 * (random.next() - 0.5)),
    ]),
  )
}

/** Examples of which `response` tokens each are predicted. */
export function benchBatch(response: number): Example[] {
  const ids = (length: number) => Array.from({ length }, () => 100 + Math.floor(random.next() * 40_000))
  return Array.from({ length: examples }, () => ({
    instruction: ids(jobTokens + 1 - response),
    response: ids(response),
  }))
}
