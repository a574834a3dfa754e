import type { Backbone } from '../../model/backbone/backbone-folder.ts'
import type { PutBackboneRequest } from '../../shared/api/admin.ts'
import { fromSent } from '../../shared/tokenizer/sent-tokenizer.ts'
import { TextCodec } from '../../shared/tokenizer/text-codec.ts'
import { readTables } from '../../shared/tokenizer/tokenizer-tables.ts'
import {
  type PromptFormat,
  type ServingEncoder,
  servedEncoder,
} from '../../shared/training/prompt-encoder.ts'
import { CliFailure } from '../command/failure.ts'
import { edgeBackbone } from '../local/local-backbone.ts'

/** Token ids for training from the edge's own tokenizer and template: training sees the same tokens as serving. */
export async function servingEncoder(installed: Backbone): Promise<ServingEncoder> {
  return encoderOf(await edgeBackbone(installed))
}

/** Throws CliFailure for a backbone that has no chat template to read prompts in. */
export function assertPromptFormat({ manifest }: Backbone, prompts: PromptFormat): void {
  if (prompts === 'chat' && manifest.chat.template === '')
    throw new CliFailure(`the backbone ${manifest.slug} has no chat template`, {
      remedy: 'give --prompts raw, and lines {"prompt", "completion"}',
    })
}

export const encoderOf = ({ backbone, tokenizer }: PutBackboneRequest): ServingEncoder =>
  servedEncoder(backbone, new TextCodec(readTables(fromSent(tokenizer))))
