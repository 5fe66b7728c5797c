// From probabilities to the corners of slides. Plain Kotlin: runs and is tested on any JVM.
package slides

import kotlin.math.abs
import kotlin.math.atan2
import kotlin.math.cos
import kotlin.math.hypot
import kotlin.math.roundToInt
import kotlin.math.sin

/** Pixel (x, y) covers [x, x + 1) × [y, y + 1). */
data class Point(val x: Double, val y: Double) {
    operator fun plus(other: Point) = Point(x + other.x, y + other.y)
    operator fun minus(other: Point) = Point(x - other.x, y - other.y)
    operator fun times(by: Double) = Point(x * by, y * by)
    infix fun dot(other: Point) = x * other.x + y * other.y
    infix fun cross(other: Point) = x * other.y - y * other.x
}

/** Corners clockwise from the top left. */
data class Outline(val corners: List<Point>, val sure: Double)

/** Settings that come with the model. */
data class Settings(
    val threshold: Double,
    val borderShare: Double,
    val minShare: Double,
    val minConfidence: Double,
)

/** Probabilities of "slide" and "border", row by row. */
class ProbabilityMap(val inside: FloatArray, val border: FloatArray, val width: Int, val height: Int)

fun findOutlines(map: ProbabilityMap, settings: Settings): List<Outline> = with(map) {
    val ids = components(width, height) { inside[it] > settings.threshold && inside[it] >= border[it] }
    val reach = (2 * settings.borderShare * maxOf(width, height)).roundToInt() + 1
    grow(ids, reach, width, height) { inside[it] + border[it] > settings.threshold }
    val regions = ids.indices.filter { ids[it] > 0 }.groupBy { ids[it] }.values
    regions.filter { it.size >= settings.minShare * ids.size }.mapNotNull { pixels ->
        quadrilateral(edge(pixels, ids, width, height))?.let { corners ->
            val mean = pixels.sumOf { (inside[it] + border[it]).toDouble() } / pixels.size
            Outline(corners, mean * agreement(corners, pixels, width))
        }
    }.filter { it.sure >= settings.minConfidence }
}

/** Numbers 4-connected pixels from 1 up. */
private fun components(width: Int, height: Int, wanted: (Int) -> Boolean): IntArray {
    val ids = IntArray(width * height)
    var count = 0
    for (start in ids.indices) {
        if (ids[start] != 0 || !wanted(start)) continue
        ids[start] = ++count
        val queue = ArrayDeque(listOf(start))
        while (queue.isNotEmpty()) {
            neighbours(queue.removeLast(), width, height) { next ->
                if (ids[next] == 0 && wanted(next)) {
                    ids[next] = count
                    queue.add(next)
                }
            }
        }
    }
    return ids
}

/** Gives unnumbered pixels the number of the nearest numbered one, so many steps at most. */
private fun grow(ids: IntArray, steps: Int, width: Int, height: Int, allowed: (Int) -> Boolean) {
    var rim = ids.indices.filter { ids[it] > 0 }
    repeat(steps) {
        val next = mutableListOf<Int>()
        for (i in rim) {
            neighbours(i, width, height) { j ->
                if (ids[j] == 0 && allowed(j)) {
                    ids[j] = ids[i]
                    next.add(j)
                }
            }
        }
        rim = next
    }
}

private inline fun neighbours(i: Int, width: Int, height: Int, visit: (Int) -> Unit) {
    val x = i % width
    if (x > 0) visit(i - 1)
    if (x < width - 1) visit(i + 1)
    if (i >= width) visit(i - width)
    if (i < width * (height - 1)) visit(i + width)
}

/** Middles of all sides of pixels between a region and what is not. */
private fun edge(pixels: List<Int>, ids: IntArray, width: Int, height: Int) = buildList {
    for (i in pixels) {
        val (column, row, id) = Triple(i % width, i / width, ids[i])
        val (x, y) = Point(column.toDouble(), row.toDouble())
        if (column == 0 || ids[i - 1] != id) add(Point(x, y + 0.5))
        if (column == width - 1 || ids[i + 1] != id) add(Point(x + 1, y + 0.5))
        if (row == 0 || ids[i - width] != id) add(Point(x + 0.5, y))
        if (row == height - 1 || ids[i + width] != id) add(Point(x + 0.5, y + 1))
    }
}

/** The tightest four sides round a region, each then laid along the region's edge. */
private fun quadrilateral(points: List<Point>): List<Point>? {
    var ring = fourOf(hull(points)) ?: return null
    for (band in listOf(0.06, 0.03)) {
        val lines = ring.indices.map { laid(points, ring[it], ring[(it + 1) % 4], band) }
        ring = lines.indices.map { crossing(lines[(it + 3) % 4], lines[it]) }
    }
    return fromTopLeft(ring)
}

/** Andrew's monotone chain, clockwise as seen. */
private fun hull(points: List<Point>): List<Point> {
    val sorted = points.sortedWith(compareBy({ it.x }, { it.y }))
    fun half(run: List<Point>): List<Point> {
        val chain = mutableListOf<Point>()
        for (point in run) {
            while (chain.size > 1 && turn(chain[chain.size - 2], chain.last(), point) <= 0) {
                chain.removeAt(chain.size - 1)
            }
            chain.add(point)
        }
        return chain.dropLast(1)
    }
    return half(sorted) + half(sorted.reversed())
}

/** Takes away the side that costs least area until four are left. */
private fun fourOf(hull: List<Point>): List<Point>? {
    val ring = hull.toMutableList()
    fun at(k: Int) = ring[(k + ring.size) % ring.size]
    while (ring.size > 4) {
        val (k, corner) = ring.indices
            .mapNotNull { k -> beyond(at(k - 1), at(k), at(k + 2), at(k + 1))?.let { k to it } }
            .minByOrNull { (k, corner) -> turn(at(k), corner, at(k + 1)) } ?: return null
        ring[k] = corner
        ring.removeAt((k + 1) % ring.size)
    }
    return ring.takeIf { it.size == 4 }
}

/** Twice the area of a triangle; positive where a, b, c run clockwise as seen (y is down). */
private fun turn(a: Point, b: Point, c: Point) = (b - a) cross (c - a)

/** Where a–b, prolonged beyond b, meets d–c, prolonged beyond c; null where they run apart. */
private fun beyond(a: Point, b: Point, d: Point, c: Point): Point? {
    val corner = crossing(b to b - a, c to c - d)
    val ahead = (corner - b) dot (b - a)
    return corner.takeIf { ahead >= 0 && ahead.isFinite() }
}

/** The line (point, direction) that fits the points near a side best, by total least squares. */
private fun laid(points: List<Point>, a: Point, b: Point, band: Double): Pair<Point, Point> {
    val chord = b - a
    val square = chord dot chord
    val near = points.filter {
        val along = (it - a) dot chord
        along > 0.1 * square && along < 0.9 * square && abs(turn(a, b, it)) < band * square
    }
    if (near.size < 8) return a to chord
    val mean = near.reduce(Point::plus) * (1.0 / near.size)
    val away = near.map { it - mean }
    val angle = atan2(2 * away.sumOf { it.x * it.y }, away.sumOf { it.x * it.x - it.y * it.y }) / 2
    return mean to Point(cos(angle), sin(angle))
}

private fun crossing(one: Pair<Point, Point>, other: Pair<Point, Point>): Point {
    val (p, u) = one
    val (q, v) = other
    return p + u * (((q - p) cross v) / (u cross v))
}

private fun fromTopLeft(ring: List<Point>): List<Point> {
    val first = ring.indices.maxBy {
        val side = ring[(it + 1) % 4] - ring[it]
        side.x / hypot(side.x, side.y)
    }
    return ring.drop(first) + ring.take(first)
}

/** Intersection over union of a clockwise quadrilateral and a region. */
private fun agreement(corners: List<Point>, pixels: List<Int>, width: Int): Double {
    val shared = pixels.count { i ->
        val middle = Point(i % width + 0.5, i / width + 0.5)
        corners.indices.all { turn(corners[it], corners[(it + 1) % 4], middle) >= 0 }
    }
    val (a, b, c, d) = corners
    val area = (turn(a, b, c) + turn(a, c, d)) / 2
    return shared / (area + pixels.size - shared)
}
