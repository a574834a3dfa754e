import { expect, it } from 'vitest'
import { AliasName, TenantId } from '../shared/ids.ts'
import { leftOutNote, namingNote } from './publication-notes.ts'

const alias = AliasName.parse('tone')
const tenant = TenantId.parse('acme')

it('an alias that the policy leaves out is warned of', () => {
  expect(leftOutNote({ aliases: [AliasName.parse('other')] }, { alias, tenant })).toMatch(
    /policy of acme leaves tone out, so requests for it get 403/,
  )
})

it('an alias that the policy names, or that any policy allows, is not', () => {
  expect(leftOutNote({ aliases: null }, { alias, tenant })).toBeUndefined()
  expect(leftOutNote({ aliases: [alias] }, { alias, tenant })).toBeUndefined()
})

it('a tenant with a key of its own is not sent to a command for operators', () => {
  expect(namingNote(undefined)).not.toMatch(/alias set/)
  expect(namingNote(tenant)).toMatch(/quartet alias set/)
})
