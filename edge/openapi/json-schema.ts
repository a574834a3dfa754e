import { z } from 'zod'
import { openSchemas, requestSchemas, responseSchemas } from './schemas.ts'

/** A JSON Schema of draft 2020-12, which OpenAPI 3.1 takes as it is. */
export type Schema = z.core.JSONSchema.JSONSchema

type Io = 'input' | 'output'

const names: Record<Io, ReadonlyMap<z.ZodType, string>> = {
  input: new Map<z.ZodType, string>(Object.entries(requestSchemas).map(([name, schema]) => [schema, name])),
  output: new Map<z.ZodType, string>(Object.entries(responseSchemas).map(([name, schema]) => [schema, name])),
}

/** A reference to the schema when it has a name, else the schema itself. */
export function schemaOf(schema: z.ZodType, io: Io): Schema {
  const name = names[io].get(schema)
  if (name !== undefined) return { $ref: `#/components/schemas/${name}` }
  return withoutIdentity(
    z.toJSONSchema(schema, { io, target: 'draft-2020-12', override, unrepresentable: 'any' }),
  )
}

/** Schemas by name, which refer to each other by it. */
export function componentsOf(
  schemas: Readonly<Record<string, z.ZodType>>,
  io: Io,
): Readonly<Record<string, Schema>> {
  const registry = z.registry<{ id: string }>()
  for (const [id, schema] of Object.entries(schemas)) registry.add(schema, { id })
  const { schemas: converted } = z.toJSONSchema(registry, {
    io,
    target: 'draft-2020-12',
    uri: (id) => `#/components/schemas/${id}`,
    override,
    unrepresentable: 'any',
  })
  return Object.fromEntries(
    Object.entries(converted).map(([name, schema]) => [
      name,
      withoutIdentity(openSchemas.has(name) ? opened(schema) : schema),
    ]),
  )
}

/** The same schema, whose objects may have further fields. */
function opened(schema: Schema): Schema {
  return JSON.parse(
    JSON.stringify(schema, (key, value: unknown) =>
      key === 'additionalProperties' && value === false ? undefined : value,
    ),
  )
}

/** zod leaves out the default of an input that it transforms; readers of the document want to know it. */
const override: NonNullable<z.core.JSONSchemaGeneratorParams['override']> = ({ jsonSchema, zodSchema }) => {
  const value = z.globalRegistry.get(zodSchema)?.default
  if (value !== undefined) jsonSchema.default = value
}

function withoutIdentity(schema: Schema): Schema {
  return Object.fromEntries(
    Object.entries(schema).filter(([key]) => key !== '$schema' && key !== '$id' && key !== '~standard'),
  )
}
