import fc from 'fast-check'

const leaf = fc.oneof(
  fc.record({ type: fc.constant('string') }),
  fc.record({ type: fc.constant('string'), minLength: fc.nat(3), maxLength: fc.integer({ min: 3, max: 6 }) }),
  fc.record({
    type: fc.constant('string'),
    pattern: fc.constantFrom(
      '^[a-z]{1,4}$',
      '^(ja|nein)$',
      '^\\d+-x$',
      '^.{2}$',
      '[^a]b',
      '^\\S\\D$',
      '^[ -!#-Z]{2}$',
      '^[а-яё]{2}$',
      '^[^é€😀]$',
      '^[\\^^-a]$',
    ),
  }),
  fc.record({ type: fc.constant('string'), format: fc.constantFrom('date', 'uuid', 'ipv4') }),
  fc.record({ type: fc.constant('integer') }),
  fc.record({
    type: fc.constant('integer'),
    minimum: fc.integer({ min: -20, max: 0 }),
    maximum: fc.integer({ min: 1, max: 300 }),
  }),
  fc.record({ type: fc.constant('number') }),
  fc.record({ type: fc.constantFrom('boolean', 'null') }),
  fc.record({
    enum: fc.uniqueArray(fc.oneof(fc.string({ maxLength: 5 }), fc.integer(), fc.boolean()), {
      minLength: 1,
      maxLength: 5,
    }),
  }),
  // Values that begin alike.
  fc.record({
    enum: fc.uniqueArray(fc.string({ unit: fc.constantFrom('a', 'b'), maxLength: 3 }), {
      minLength: 1,
      maxLength: 8,
    }),
  }),
  fc.record({ const: fc.oneof(fc.string({ unit: 'grapheme', maxLength: 5 }), fc.integer()) }),
  fc.record({ type: fc.constant(['string', 'null']) }),
  fc.record({ $ref: fc.constant('#/$defs/tree') }),
)
const names = fc.constantFrom('a', 'b', 'name', 'ключ', 'x y', 'q-$', '😀')
/** Schemas of what the edge takes; their root needs `$defs: { tree }`. */
export const { schema } = fc.letrec<{ schema: object }>((tie) => ({
  schema: fc.oneof(
    { depthSize: 'small', withCrossShrink: true },
    leaf,
    fc.record({
      type: fc.constant('array'),
      items: tie('schema'),
      minItems: fc.nat(2),
      maxItems: fc.integer({ min: 2, max: 3 }),
    }),
    fc.record({ anyOf: fc.array(tie('schema'), { minLength: 1, maxLength: 3 }) }),
    fc
      .record({ properties: fc.dictionary(names, tie('schema'), { maxKeys: 4 }), share: fc.nat(2) })
      .map(({ properties, share }) => ({
        type: 'object',
        properties,
        required: Object.keys(properties).filter((_, at) => share === 0 || at % 2 === 0),
        additionalProperties: false,
      })),
  ),
}))
export const tree = {
  type: 'object',
  properties: { value: { type: 'integer' }, next: { anyOf: [{ $ref: '#/$defs/tree' }, { type: 'null' }] } },
  required: ['value', 'next'],
  additionalProperties: false,
}
