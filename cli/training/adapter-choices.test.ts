import { expect, it } from 'vitest'
import { BackboneDigest, BackboneSlug } from '../../shared/ids.ts'
import { type AdapterChoices, describeAdapter } from '../../shared/training/describe-adapter.ts'
import type { AdapterStart } from '../../training/start/start.ts'
import { adapterChoices } from './adapter-choices.ts'

const backbone = {
  config: { d: 16, layers: 3, vocab: 50 },
  slug: BackboneSlug.parse('tiny'),
  digest: BackboneDigest.parse('a'.repeat(64)),
  header: 4,
}
const fresh: AdapterStart = { from: 'fresh', rows: 'anchor' }
const text: AdapterStart = { from: 'text', tokens: [7, 8, 9], begin: 1 }

/** The adapter that a training with these options has. */
function chosen(start: AdapterStart, { prompts = 'chat', ...options }: Options = {}) {
  return describeAdapter(backbone, adapterChoices({ init: 'anchor', prompts, ...options }, start))
}
type Options = Partial<AdapterChoices> & { readonly prompts?: 'chat' | 'raw' }

it('rows are late, but for raw prompts, which have no header, and a text, which stands where it would be written', () => {
  expect(chosen(fresh)).toMatchObject({ placement: 'late', tail: 4 })
  expect(chosen(fresh, { prompts: 'raw' })).toMatchObject({ placement: 'after-first' })
  expect(chosen(text)).toMatchObject({ placement: 'after-first', l_sp: 3 })
})

it('an option goes before all of these', () => {
  expect(chosen(fresh, { placement: 'turn' })).toMatchObject({ placement: 'turn' })
  expect(chosen(fresh, { prompts: 'raw', placement: 'late' })).toMatchObject({ placement: 'late', tail: 4 })
  expect(chosen(text, { placement: 'first', rows: 5 })).toMatchObject({ placement: 'first', l_sp: 5 })
})
