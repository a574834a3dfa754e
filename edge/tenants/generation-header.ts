import { ChatTemplate } from '../../shared/tokenizer/chat-template.ts'
import type { Platform } from '../platform.ts'
import type { BackboneRecord } from '../store/records.ts'
import { loadCodec } from './load-codec.ts'

/** Tokens of a backbone's generation header; 0 where it has no chat template, or one without a header. */
export async function generationHeader(
  record: BackboneRecord,
  platform: Pick<Platform, 'caches' | 'store'>,
): Promise<number> {
  const { chat, contextLength } = record.backbone
  if (chat.template === '') return 0
  return ChatTemplate.of(record, await loadCodec(record, platform)).generationHeader(contextLength)
}
