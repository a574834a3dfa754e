import type { Backbone } from '../../model/backbone/backbone-folder.ts'
import { backboneCodec } from '../../model/import/backbone-tokenizer.ts'
import { encode } from '../../model/import/tokenizer.ts'
import { compileText, type Precision } from '../../model/runtime/compile.ts'
import { type PrefillWeights, usualPrefillWeights } from '../../model/runtime/prefill-weights.ts'
import { serializeAdapterFile } from '../../shared/adapter-file.ts'
import { sha256Hex } from '../../shared/digest.ts'
import { AdapterDigest } from '../../shared/ids.ts'
import { beginToken, sourceText } from './adapter-source.ts'
import type { AdapterSource } from './messages.ts'

export interface CompiledAdapter {
  readonly digest: AdapterDigest
  readonly bytes: Uint8Array<ArrayBuffer>
  /** Prompt rows: one per token of the text. */
  readonly rows: number
}

/** Compiles a text into a static adapter: serving it equals serving the backbone with the text in front. */
export async function compileAdapter(
  backbone: Backbone,
  {
    source,
    precision,
    prefillWeights,
  }: {
    readonly source: AdapterSource
    readonly precision?: Precision
    /** As a node on this machine reads prompts when absent. */
    readonly prefillWeights?: PrefillWeights | undefined
  },
): Promise<CompiledAdapter> {
  const { folder, manifest } = backbone
  const codec = await backboneCodec(backbone)
  const reader = { manifest, codec }
  const tokens = encode(codec, sourceText(source, reader))
  const begin = beginToken(reader)
  const file = await compileText({
    folder,
    manifest,
    tokens,
    begin,
    prefillWeights: prefillWeights ?? (await usualPrefillWeights(manifest)),
    ...(precision && { precision }),
  })
  const bytes = serializeAdapterFile(file)
  return { digest: AdapterDigest.parse(await sha256Hex(bytes)), bytes, rows: tokens.length }
}
