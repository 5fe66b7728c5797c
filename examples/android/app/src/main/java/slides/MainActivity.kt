// One screen: the camera, a button, and below them the photo with outlines and the crops.
package slides

import android.Manifest
import android.graphics.Bitmap
import android.graphics.Canvas
import android.graphics.Color
import android.graphics.Matrix
import android.graphics.Paint
import android.graphics.Path
import android.os.Bundle
import android.view.View
import android.widget.Button
import android.widget.ImageView
import android.widget.LinearLayout
import android.widget.ScrollView
import android.widget.TextView
import androidx.activity.ComponentActivity
import androidx.activity.result.contract.ActivityResultContracts
import androidx.camera.core.ImageCapture
import androidx.camera.core.ImageCaptureException
import androidx.camera.core.ImageProxy
import androidx.camera.view.LifecycleCameraController
import androidx.camera.view.PreviewView
import java.util.concurrent.Executors

class MainActivity : ComponentActivity() {
    private val worker = Executors.newSingleThreadExecutor()
    private val finder by lazy { SlideFinder(assets) } // on the worker's thread
    private val camera by lazy { LifecycleCameraController(this) }
    private val said by lazy { TextView(this) }
    private val results by lazy { column() }

    private val permission = registerForActivityResult(ActivityResultContracts.RequestPermission()) {
        if (it) camera.bindToLifecycle(this) else said.text = "The camera is not allowed."
    }

    override fun onCreate(state: Bundle?) {
        super.onCreate(state)
        val preview = PreviewView(this).apply { controller = camera }
        val take = Button(this).apply {
            text = "Take picture"
            setOnClickListener { takePicture() }
        }
        said.text = CAUTION
        results.addView(said)
        setContentView(
            column().apply {
                addView(preview, LinearLayout.LayoutParams(LinearLayout.LayoutParams.MATCH_PARENT, 0, 1f))
                addView(take)
                addView(
                    ScrollView(context).apply { addView(results) },
                    LinearLayout.LayoutParams(LinearLayout.LayoutParams.MATCH_PARENT, 0, 1f),
                )
            },
        )
        permission.launch(Manifest.permission.CAMERA)
    }

    private fun takePicture() = camera.takePicture(
        worker,
        object : ImageCapture.OnImageCapturedCallback() {
            override fun onCaptureSuccess(image: ImageProxy) =
                image.use { show(upright(it.toBitmap(), it.imageInfo.rotationDegrees)) }

            override fun onError(error: ImageCaptureException) =
                runOnUiThread { said.text = error.message }
        },
    )

    private fun show(photo: Bitmap) {
        val outlines = finder.find(photo)
        val pictures = listOf(drawn(photo, outlines)) + outlines.map { straightened(photo, it.corners) }
        runOnUiThread {
            said.text = "Slides: ${outlines.size}. $CAUTION"
            results.removeViews(1, results.childCount - 1)
            pictures.forEach { results.addView(picture(it)) }
        }
    }

    private fun upright(photo: Bitmap, degrees: Int): Bitmap {
        val turn = Matrix().apply { postRotate(degrees.toFloat()) }
        return Bitmap.createBitmap(photo, 0, 0, photo.width, photo.height, turn, true)
    }

    private fun drawn(photo: Bitmap, outlines: List<Outline>): Bitmap {
        val copy = photo.copy(Bitmap.Config.ARGB_8888, true)
        val pen = Paint().apply {
            style = Paint.Style.STROKE
            color = Color.rgb(0, 200, 83)
            strokeWidth = photo.width / 200f
        }
        for ((corners) in outlines) {
            val path = Path()
            corners.forEachIndexed { k, (x, y) ->
                if (k == 0) path.moveTo(x.toFloat(), y.toFloat()) else path.lineTo(x.toFloat(), y.toFloat())
            }
            Canvas(copy).drawPath(path.apply { close() }, pen)
        }
        return copy
    }

    private fun picture(bitmap: Bitmap): View = ImageView(this).apply {
        setImageBitmap(bitmap)
        adjustViewBounds = true
        setPadding(0, 24, 0, 0)
    }

    private fun column() = LinearLayout(this).apply { orientation = LinearLayout.VERTICAL }

    override fun onDestroy() {
        super.onDestroy()
        worker.shutdown()
    }

    private companion object {
        const val CAUTION = "Research use only. Not for diagnosis."
    }
}
