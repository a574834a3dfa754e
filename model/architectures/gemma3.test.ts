import { expect, test } from 'vitest'
import { gemma3 } from './gemma3.ts'
import { Settings } from './settings.ts'

test('Gemma 3 caps logits alone, as transformers does: a stated cap of the scores changes nothing', () => {
  const sizes = { hidden_size: 128, num_hidden_layers: 6, intermediate_size: 192, rms_norm_eps: 1e-6 }
  const stated = { ...sizes, attn_logit_softcapping: 10, final_logit_softcapping: 12 }
  const { attentionCap, logitCap } = gemma3.huggingFace.config(new Settings('config.json', stated))
  expect({ attentionCap, logitCap }).toEqual({ attentionCap: undefined, logitCap: 12 })
})
