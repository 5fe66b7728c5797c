// The exported network: a photo in, outlines and straightened slides out.
package slides

import android.content.res.AssetManager
import android.graphics.Bitmap
import android.graphics.Canvas
import android.graphics.Color
import android.graphics.Matrix
import android.graphics.Paint
import android.graphics.Rect
import com.google.ai.edge.litert.Accelerator
import com.google.ai.edge.litert.CompiledModel
import kotlin.math.hypot
import kotlin.math.max
import kotlin.math.min
import kotlin.math.roundToInt
import org.json.JSONArray
import org.json.JSONObject

/** Opens photo.tflite and export.json of the assets. A .tflite file holds no metadata of ours. */
class SlideFinder(assets: AssetManager) : AutoCloseable {
    private val told = JSONObject(assets.open("export.json").bufferedReader().use { it.readText() })
    private val rows = told.getJSONArray("size").getInt(0)
    private val columns = told.getJSONArray("size").getInt(1)
    private val names = JSONArray(told.getJSONObject("metadata").getString("classes")).let { all ->
        List(all.length()) { all.getJSONObject(it).getString("name") }
    }
    private val settings = with(JSONObject(told.getJSONObject("metadata").getString("use")).getJSONObject("photo")) {
        Settings(getDouble("threshold"), getDouble("border_share"), getDouble("min_share"), getDouble("min_confidence"))
    }
    private val model =
        CompiledModel.create(assets, told.getString("file"), CompiledModel.Options(Accelerator.CPU))
    private val input = model.createInputBuffers()
    private val output = model.createOutputBuffers()

    /** Outlines in the photo's pixels. The photo stands upright. */
    fun find(photo: Bitmap): List<Outline> {
        val ratio = min(columns.toDouble() / photo.width, rows.toDouble() / photo.height)
        val width = (photo.width * ratio).roundToInt()
        val height = (photo.height * ratio).roundToInt()
        input[0].writeFloat(pixels(photo, width, height))
        model.run(input, output)
        val probabilities = output[0].readFloat() // rows, columns, classes
        fun plane(name: String) = FloatArray(width * height) { i ->
            val at = (i / width * columns + i % width) * names.size
            names.indexOf(name).let { if (it < 0) 0f else probabilities[at + it] }
        }
        return findOutlines(ProbabilityMap(plane("slide"), plane("border"), width, height), settings).map {
            it.copy(corners = it.corners.map { (x, y) -> Point(x * photo.width / width, y * photo.height / height) })
        }
    }

    /** Red, green, blue of 0..255; the photo at the top left, grey where it does not reach. */
    private fun pixels(photo: Bitmap, width: Int, height: Int): FloatArray {
        val seen = Bitmap.createBitmap(columns, rows, Bitmap.Config.ARGB_8888)
        val whole = photo.halvedTo(2 * width)
        Canvas(seen).apply { drawColor(Color.GRAY) }
            .drawBitmap(whole, null, Rect(0, 0, width, height), Paint(Paint.FILTER_BITMAP_FLAG))
        val colours = IntArray(rows * columns).also { seen.getPixels(it, 0, columns, 0, 0, columns, rows) }
        return FloatArray(3 * colours.size) { (colours[it / 3] shr (16 - 8 * (it % 3)) and 255).toFloat() }
    }

    /** Halves the photo while it is wider, since one bilinear step to a small size would alias. */
    private fun Bitmap.halvedTo(most: Int): Bitmap =
        if (width <= most) this else Bitmap.createScaledBitmap(this, width / 2, height / 2, true).halvedTo(most)

    override fun close() = model.close()
}

/** Cuts a slide out, as wide and high as its longer sides are in the photo. */
fun straightened(photo: Bitmap, corners: List<Point>): Bitmap {
    val (top, right, bottom, left) = corners.indices.map {
        val side = corners[(it + 1) % 4] - corners[it]
        hypot(side.x, side.y).toFloat()
    }
    val width = max(1f, max(top, bottom))
    val height = max(1f, max(right, left))
    val from = corners.flatMap { listOf(it.x.toFloat(), it.y.toFloat()) }.toFloatArray()
    val flat = floatArrayOf(0f, 0f, width, 0f, width, height, 0f, height)
    val matrix = Matrix().apply { setPolyToPoly(from, 0, flat, 0, 4) }
    return Bitmap.createBitmap(width.roundToInt(), height.roundToInt(), Bitmap.Config.ARGB_8888).also {
        Canvas(it).drawBitmap(photo, matrix, Paint(Paint.FILTER_BITMAP_FLAG))
    }
}
